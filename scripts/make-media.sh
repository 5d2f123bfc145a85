#!/usr/bin/env bash
# Makes the two clips of `footage demo`: drawn scenes of 16 s whose movement ends where it begins, so they can loop.
# H.264 with B-frames and a sync sample every 2 s, AAC; 640x360, 25 fps. The results are committed.
set -euo pipefail
cd "$(dirname "$0")/../media"

seconds=16
font=/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf
[ -f "$font" ] || { echo "make-media: $font is missing: apt-get install fonts-dejavu-core" >&2; exit 1; }

# A figure seen from afar: head, coat and legs, the rest transparent. Arguments: width, height, R, G, B of the coat.
figure() {
  local w=$1 h=$2
  local head="lt(hypot(X-$w/2,Y-$h*0.13),$h*0.11)"
  local coat="lt(pow((X-$w/2)/($w*0.36),4)+pow((Y-$h*0.48)/($h*0.25),4),1)"
  local legs="between(Y,$h*0.7,$h*0.98)*lt(abs(abs(X-$w/2)-$w*0.15),$w*0.11)"
  printf '%s' "color=black:s=${w}x${h}:r=25:d=0.04,format=rgba,geq="
  printf '%s' "r='if($head,214,if($coat,$3,34))':g='if($head,168,if($coat,$4,38))':b='if($head,140,if($coat,$5,52))'"
  printf '%s' ":a='255*min(1,$head+$coat+$legs)',loop=-1:1,setpts=N/25/TB"
}

# What a camera writes into its picture. Argument: its name.
caption() {
  printf '%s' "drawbox=0:0:640:30:black@0.45:fill,drawtext=fontfile=$font:fontsize=17:fontcolor=white:x=14:y=7:text='$1',"
  printf '%s' "drawtext=fontfile=$font:fontsize=17:fontcolor=white:x=w-tw-14:y=7:text='%{pts\\:hms}  #%{frame_num}'"
}

# Arguments: output, filter graph with the outputs [v] and [a].
encode() {
  ffmpeg -hide_banner -v error -nostdin -filter_complex "$2" -map '[v]' -map '[a]' -t "$seconds" \
    -c:v libx264 -preset veryslow -profile:v high -pix_fmt yuv420p -bf 2 -g 50 -crf 25 -maxrate 420k -bufsize 840k \
    -c:a aac -b:a 64k -ar 48000 -ac 1 -movflags +faststart -map_metadata -1 -fflags +bitexact -flags +bitexact -y "$1"
}

# A visitor walks to the door, rings, waits and leaves the way they came; the porch lamp goes on with the bell.
visitor="if(lt(t,5),-80+t*82,if(lt(t,11),330,330-(t-11)*82))"
door_scene="
color=0x8a5a44:s=640x360:r=25,format=rgb24,geq=
r='r(X,Y)-28*lt(mod(Y,18),2)-28*lt(mod(X+18*mod(floor(Y/18),2),36),2)-Y/9':
g='g(X,Y)-24*lt(mod(Y,18),2)-24*lt(mod(X+18*mod(floor(Y/18),2),36),2)-Y/9':
b='b(X,Y)-20*lt(mod(Y,18),2)-20*lt(mod(X+18*mod(floor(Y/18),2),36),2)-Y/9':enable='eq(n,0)',
trim=end_frame=1,loop=-1:1,setpts=N/25/TB,
drawbox=0:310:640:50:0x6d6f73:fill,drawbox=0:308:640:4:0x8d8f93:fill,
drawbox=392:72:136:240:0xe8e2d4:fill,drawbox=402:82:116:230:0x1f4d3f:fill,
drawbox=416:98:38:84:0x173c31:fill,drawbox=466:98:38:84:0x173c31:fill,
drawbox=416:200:88:96:0x173c31:fill,drawbox=496:196:10:10:0xd9b44a:fill,
drawbox=350:170:14:24:0xd8d8d8:fill,drawbox=354:177:6:6:0x333333:fill,
drawbox=80:90:150:120:0xe8e2d4:fill,drawbox=90:100:62:100:0x2b3a4e:fill,drawbox=158:100:62:100:0x2b3a4e:fill,
drawbox=560:110:20:34:0x2a2a2a:fill,drawbox=564:116:12:22:0x6a6450:fill[wall];
color=black:s=300x300:r=25:d=0.04,format=rgba,geq=r=255:g=214:b=130:a='150*pow(max(0,1-hypot(X-150,Y-150)/150),2)',
loop=-1:1,setpts=N/25/TB[glow];
$(figure 74 176 52 84 140)[visitor];
[wall][glow]overlay=x=420:y=-23:enable='between(t,6,14.5)'[lit];
[lit][visitor]overlay=x='$visitor':y='150-3*abs(sin(t*5))*(lt(t,5)+gt(t,11))',
noise=alls=5:allf=t,vignette=PI/5,$(caption 'FRONT DOOR')[v];
anoisesrc=color=brown:amplitude=0.12:r=48000:seed=1[air];
aevalsrc='0.35*sin(2*PI*659*t)*gte(t,6)*exp(-3*max(0,t-6))+0.35*sin(2*PI*523*t)*gte(t,6.6)*exp(-2.5*max(0,t-6.6))':s=48000[bell];
[air][bell]amix=inputs=2:normalize=0[a]"

# A car passes behind the fence, a dog runs the other way in front of it, clouds drift a whole picture's width.
yard_scene="
color=black:s=640x360:r=25,format=rgb24,geq=
r='if(lt(Y,190),120+Y*0.5,if(lt(Y,228),92,74+14*sin(X/7)*sin(Y/5)-(Y-228)/6))':
g='if(lt(Y,190),170+Y*0.3,if(lt(Y,228),94,122+16*sin(X/7)*sin(Y/5)-(Y-228)/6))':
b='if(lt(Y,190),225,if(lt(Y,228),98,62+10*sin(X/7)*sin(Y/5)-(Y-228)/6))',
trim=end_frame=1,loop=-1:1,setpts=N/25/TB,
drawbox=0:206:640:3:0xd8d4b0:fill[ground];
color=black:s=1280x120:r=25:d=0.04,format=rgba,geq=r=255:g=255:b=255:
a='210*min(1,
lt(hypot((mod(X,640)-110)/70,(Y-52)/17),1)+lt(hypot((mod(X,640)-150)/42,(Y-40)/22),1)+
lt(hypot((mod(X,640)-430)/90,(Y-78)/15),1)+lt(hypot((mod(X,640)-410)/44,(Y-66)/20),1))',
boxblur=3:1:cr=0:ar=3,loop=-1:1,setpts=N/25/TB[clouds];
color=black:s=130x52:r=25:d=0.04,format=rgba,geq=
r='if(lt(hypot(mod(X,65)-32,Y-42),10),25,if(between(Y,8,20),70,196))':
g='if(lt(hypot(mod(X,65)-32,Y-42),10),25,if(between(Y,8,20),100,44))':
b='if(lt(hypot(mod(X,65)-32,Y-42),10),28,if(between(Y,8,20),120,40))':
a='255*min(1,between(Y,20,42)+between(Y,4,20)*between(X,28,100)+lt(hypot(mod(X,65)-32,Y-42),10))',
loop=-1:1,setpts=N/25/TB[car];
color=black:s=60x40:r=25:d=0.04,format=rgba,geq=r=96:g=62:b=36:
a='255*min(1,lt(hypot((X-30)/20,(Y-20)/8),1)+lt(hypot(X-10,Y-13),8)+between(Y,20,38)*lt(abs(abs(X-30)-13),3)+
lt(abs(X-50+Y/2-4),3)*between(Y,2,18))',loop=-1:1,setpts=N/25/TB[dog];
color=black:s=640x90:r=25:d=0.04,format=rgba,geq=r=236:g=232:b=222:
a='255*min(1,lt(mod(X,40),22)*gt(Y,abs(mod(X,40)-11)*0.9)+between(Y,26,34)+between(Y,60,68))',
loop=-1:1,setpts=N/25/TB[fence];
[ground][clouds]overlay=x='-40*t':y=34[sky];
[sky][car]overlay=x='mod(t*60,960)-160':y=178[street];
[street][fence]overlay=x=0:y=196[garden];
[garden][dog]overlay=x='if(between(t,5,12),700-(t-5)*115,-100)':y='292-9*abs(sin(t*9))',
noise=alls=4:allf=t,vignette=PI/6,$(caption 'YARD')[v];
anoisesrc=color=pink:amplitude=0.1:r=48000:seed=2,volume='0.6+0.4*sin(2*PI*t/8)':eval=frame[wind];
aevalsrc='0.16*exp(-pow((t-8)/2.5,2))*(sin(2*PI*82*t)+0.6*sin(2*PI*123*t))':s=48000[motor];
[wind][motor]amix=inputs=2:normalize=0[a]"

# Line breaks are for the reader only.
encode front-door.mp4 "$(tr -d '\n' <<<"$door_scene")"
encode yard.mp4 "$(tr -d '\n' <<<"$yard_scene")"
ls -l front-door.mp4 yard.mp4
